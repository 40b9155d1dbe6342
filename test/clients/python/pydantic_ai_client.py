import asyncio

from check import API_KEY, BASE_URL, BEFORE, CITIES, HELLO, WEATHER, check, expect_text
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

# For names of GPT-5 it sends settings of its own. Other names than the registry's reach `default`.
MODEL = "gpt-5.4"


class Person(BaseModel):
    name: str
    age: int


def get_weather(city: str) -> str:
    """Returns the weather in a city."""
    return f"It is sunny in {city}"


def create(model_class, **settings):
    provider = OpenAIProvider(base_url=BASE_URL, api_key=API_KEY)
    return Agent(model_class(MODEL, provider=provider), instructions="Be brief.", retries=0, **settings)


async def streamed_tools(model_class):
    async with create(model_class, tools=[get_weather]).run_stream(WEATHER[0]) as result:
        expect_text(await result.get_output(), WEATHER[1])


def tools(model_class):
    expect_text(create(model_class, tools=[get_weather]).run_sync(CITIES[0]).output, CITIES[1])


def single_calls(model_class):
    settings = {"parallel_tool_calls": False, "openai_reasoning_effort": "low", "openai_text_verbosity": "low"}
    result = create(model_class, tools=[get_weather]).run_sync(CITIES[0], model_settings=settings)
    expect_text(result.output, CITIES[1])
    for message in result.all_messages():
        assert sum(part.part_kind == "tool-call" for part in message.parts) <= 1


def two_turns(model_class):
    agent = create(model_class)
    first = agent.run_sync(HELLO[0])
    expect_text(agent.run_sync(BEFORE[0], message_history=first.all_messages()).output, BEFORE[1])


def schema(model_class, output_type):
    assert isinstance(create(model_class, output_type=output_type).run_sync("A person").output, Person)


for name, used in (("chat", OpenAIChatModel), ("responses", OpenAIResponsesModel)):
    check(f"{name}: tools", lambda: tools(used))
    check(f"{name}: streamed tools", lambda: asyncio.run(streamed_tools(used)))
    check(f"{name}: two turns", lambda: two_turns(used))
    check(f"{name}: one call at a time", lambda: single_calls(used))
    check(f"{name}: answer by a required tool", lambda: schema(used, Person))
    check(f"{name}: answer by schema", lambda: schema(used, NativeOutput(Person)))
