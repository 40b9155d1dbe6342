from anthropic import Anthropic, beta_tool
from check import API_KEY, BASE_URL, BEFORE, CITIES, HELLO, check, expect_text

# This SDK adds `/v1` itself.
client = Anthropic(base_url=BASE_URL.removesuffix("/v1"), api_key=API_KEY, max_retries=0)
# Other names than those of the registry reach `default`.
SETTINGS = {"model": "claude-sonnet-4-6", "max_tokens": 1_000}


def user(text):
    return {"role": "user", "content": text}


def read(message):
    return "".join(block.text for block in message.content if block.type == "text")


def answer():
    expect_text(read(client.messages.create(**SETTINGS, messages=[user(HELLO[0])])), HELLO[1])


def stream():
    with client.messages.stream(**SETTINGS, messages=[user(HELLO[0])]) as events:
        expect_text("".join(events.text_stream), HELLO[1])


@beta_tool
def get_weather(city: str) -> str:
    """Returns the weather in a city.

    Args:
        city: The city's name.
    """
    return f"It is sunny in {city}"


def tools():
    runner = client.beta.messages.tool_runner(**SETTINGS, messages=[user(CITIES[0])], tools=[get_weather])
    expect_text(read(runner.until_done()), CITIES[1])


def single_calls():
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    runner = client.beta.messages.tool_runner(
        **SETTINGS, messages=[user(CITIES[0])], tools=[get_weather], tool_choice=choice
    )
    for message in runner:
        assert sum(block.type == "tool_use" for block in message.content) <= 1
    expect_text(read(message), CITIES[1])


def required_tool():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    message = client.messages.create(
        **SETTINGS,
        messages=[user("Go")],
        tools=[{"name": "save_place", "input_schema": schema}],
        tool_choice={"type": "any"},
    )
    assert [block.name for block in message.content if block.type == "tool_use"] == ["save_place"]


def thinking():
    settings = {**SETTINGS, "thinking": {"type": "adaptive"}}
    messages = [user(HELLO[0])]
    first = client.messages.create(**settings, messages=messages)
    messages += [{"role": "assistant", "content": first.content}, user(BEFORE[0])]
    expect_text(read(client.messages.create(**settings, messages=messages)), BEFORE[1])


def two_turns():
    messages = [user(HELLO[0])]
    first = client.messages.create(**SETTINGS, messages=messages)
    messages += [{"role": "assistant", "content": first.content}, user(BEFORE[0])]
    expect_text(read(client.messages.create(**SETTINGS, messages=messages)), BEFORE[1])


def count():
    counted = client.messages.count_tokens(model=SETTINGS["model"], messages=[user(HELLO[0])])
    assert counted.input_tokens > 0


check("answer", answer)
check("stream", stream)
check("tools", tools)
check("one call at a time", single_calls)
check("required tool", required_tool)
check("thinking in two turns", thinking)
check("two turns", two_turns)
check("token count", count)
check("list of models", lambda: client.models.list())
