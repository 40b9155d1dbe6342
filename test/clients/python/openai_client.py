import json

from check import API_KEY, BASE_URL, BEFORE, CITIES, HELLO, IS_GUIDE, NAMED, WEATHER, check, expect_text
from openai import OpenAI
from pydantic import BaseModel

client = OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)
MODEL = "default"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


class Person(BaseModel):
    name: str
    age: int


def user(text):
    return {"role": "user", "content": text}


def answer():
    completion = client.chat.completions.create(model=MODEL, messages=[user(HELLO[0])])
    expect_text(completion.choices[0].message.content, HELLO[1])


def streamed_tools():
    function = {"name": "get_weather", "parameters": PARAMETERS, "strict": True}
    tools = [{"type": "function", "function": function}]
    messages = [user(WEATHER[0])]
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools) as stream:
        message = stream.get_final_completion().choices[0].message
    if IS_GUIDE:
        return expect_text(message.content, WEATHER[1])
    call = message.tool_calls[0]
    assert call.function.parsed_arguments == {"city": "Paris"}
    # The whole message goes back, with the fields that a client needn't send, `null` among them.
    messages += [message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "It is sunny in Paris"}]
    completion = client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
    expect_text(completion.choices[0].message.content, WEATHER[1])


def two_turns():
    messages = [user(HELLO[0])]
    completion = client.chat.completions.create(model=MODEL, messages=messages)
    messages += [completion.choices[0].message.model_dump(), user(BEFORE[0])]
    completion = client.chat.completions.create(model=MODEL, messages=messages)
    expect_text(completion.choices[0].message.content, BEFORE[1])


def schema():
    completion = client.chat.completions.parse(
        model=MODEL, messages=[user("A person")], response_format=Person
    )
    assert isinstance(completion.choices[0].message.parsed, Person)


def single_calls():
    function = {"name": "get_weather", "parameters": PARAMETERS, "strict": True}
    completion = client.chat.completions.create(
        model=MODEL,
        messages=[user(CITIES[0])],
        tools=[{"type": "function", "function": function}],
        parallel_tool_calls=False,
        reasoning_effort="low",
        verbosity="low",
    )
    message = completion.choices[0].message
    if IS_GUIDE:
        return expect_text(message.content, CITIES[1])
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == [{"city": "Paris"}]


def required_tool():
    tools = [{"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}]
    response = client.responses.create(model=MODEL, input="Go", tools=tools, tool_choice="required")
    calls = [item for item in response.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather"]


def named():
    completion = client.chat.completions.create(model=MODEL, messages=[{**user(HELLO[0]), "name": NAMED[0]}])
    expect_text(completion.choices[0].message.content, NAMED[1])


def reasoning():
    settings = {
        "model": MODEL,
        "store": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low"},
        "include": ["reasoning.encrypted_content"],
    }
    items = [user(HELLO[0])]
    first = client.responses.create(**settings, input=items)
    items += [item.model_dump() for item in first.output] + [user(BEFORE[0])]
    expect_text(client.responses.create(**settings, input=items).output_text, BEFORE[1])


def response_stream():
    with client.responses.stream(model=MODEL, input=HELLO[0]) as stream:
        expect_text(stream.get_final_response().output_text, HELLO[1])


def response_tools():
    tools = [{"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}]
    items = [user(WEATHER[0])]
    first = client.responses.create(model=MODEL, input=items, tools=tools, store=False)
    if IS_GUIDE:
        return expect_text(first.output_text, WEATHER[1])
    call = first.output[0]
    items += [item.model_dump() for item in first.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "It is sunny in Paris"})
    second = client.responses.create(model=MODEL, input=items, tools=tools, store=False)
    expect_text(second.output_text, WEATHER[1])


def response_turns():
    first = client.responses.create(model=MODEL, input=HELLO[0])
    second = client.responses.create(model=MODEL, input=BEFORE[0], previous_response_id=first.id)
    expect_text(second.output_text, BEFORE[1])


def response_schema():
    response = client.responses.parse(model=MODEL, input="A person", text_format=Person)
    assert isinstance(response.output_parsed, Person)


check("chat: answer", answer)
check("chat: streamed tools", streamed_tools)
check("chat: two turns", two_turns)
check("responses: stream", response_stream)
check("responses: tools", response_tools)
check("responses: two turns", response_turns)
check("chat: one call at a time", single_calls)
check("chat: named messages", named)
check("responses: required tool", required_tool)
check("responses: reasoning in two turns", reasoning)
check("chat: answer by schema", schema)
check("responses: answer by schema", response_schema)
