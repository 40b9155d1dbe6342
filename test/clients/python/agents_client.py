import asyncio

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from check import API_KEY, BASE_URL, BEFORE, CITIES, HELLO, WEATHER, check, expect_text
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from pydantic import BaseModel

set_tracing_disabled(True)
# For names of GPT-5 the SDK sends settings of its own. Other names than the registry's reach `default`.
MODEL = "gpt-5.4"


class Person(BaseModel):
    name: str
    age: int


@function_tool
def get_weather(city: str) -> str:
    """Returns the weather in a city."""
    return f"It is sunny in {city}"


def create(model_class, **settings):
    client = AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)
    model = model_class(model=MODEL, openai_client=client)
    return Agent(name="Assistant", instructions="Be brief.", model=model, **settings)


async def tools(model_class):
    result = await Runner.run(create(model_class, tools=[get_weather]), CITIES[0])
    expect_text(result.final_output, CITIES[1])


async def streamed_tools(model_class):
    result = Runner.run_streamed(create(model_class, tools=[get_weather]), WEATHER[0])
    async for _ in result.stream_events():
        pass
    expect_text(result.final_output, WEATHER[1])


async def two_turns(model_class):
    agent = create(model_class, tools=[get_weather])
    first = await Runner.run(agent, HELLO[0])
    second = await Runner.run(agent, first.to_input_list() + [{"role": "user", "content": BEFORE[0]}])
    expect_text(second.final_output, BEFORE[1])


async def single_calls(model_class):
    settings = ModelSettings(parallel_tool_calls=False, verbosity="low", reasoning=Reasoning(effort="low"))
    agent = create(model_class, tools=[get_weather], model_settings=settings)
    result = await Runner.run(agent, CITIES[0])
    expect_text(result.final_output, CITIES[1])
    for response in result.raw_responses:
        assert sum(item.type == "function_call" for item in response.output) <= 1


async def schema(model_class):
    result = await Runner.run(create(model_class, output_type=Person), "A person")
    assert isinstance(result.final_output, Person)


for name, used in (("responses", OpenAIResponsesModel), ("chat", OpenAIChatCompletionsModel)):
    check(f"{name}: tools", lambda: asyncio.run(tools(used)))
    check(f"{name}: streamed tools", lambda: asyncio.run(streamed_tools(used)))
    check(f"{name}: two turns", lambda: asyncio.run(two_turns(used)))
    check(f"{name}: one call at a time", lambda: asyncio.run(single_calls(used)))
    check(f"{name}: answer by schema", lambda: asyncio.run(schema(used)))
