from check import API_KEY, BASE_URL, BEFORE, CITIES, HELLO, IS_GUIDE, NAMED, WEATHER, check, expect_text
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

SERVICE = {"base_url": BASE_URL, "api_key": API_KEY, "max_retries": 0}


class Person(BaseModel):
    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """Returns the weather in a city."""
    return f"It is sunny in {city}"


def stream(chat):
    expect_text("".join(chunk.text for chunk in chat.stream(HELLO[0])), HELLO[1])


def tools(chat):
    with_tools = chat.bind_tools([get_weather])
    question = HumanMessage(WEATHER[0])
    first = with_tools.invoke([question])
    if IS_GUIDE:
        return expect_text(first.text, WEATHER[1])
    [call] = first.tool_calls
    assert call["args"] == {"city": "Paris"}
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    expect_text(with_tools.invoke([question, first, result]).text, WEATHER[1])


def two_turns(chat):
    hello = HumanMessage(HELLO[0])
    # A named answer, as LangGraph's agents send it.
    first = chat.invoke([hello]).model_copy(update={"name": "assistant"})
    expect_text(chat.invoke([hello, first, HumanMessage(BEFORE[0])]).text, BEFORE[1])


def single_calls(uses_responses):
    chat = ChatOpenAI(
        **SERVICE, model="gpt-5.4", use_responses_api=uses_responses, reasoning_effort="low", verbosity="low"
    )
    first = chat.bind_tools([get_weather], parallel_tool_calls=False, strict=True).invoke(CITIES[0])
    if IS_GUIDE:
        return expect_text(first.text, CITIES[1])
    assert [call["args"] for call in first.tool_calls] == [{"city": "Paris"}]


def named(chat):
    expect_text(chat.invoke([HumanMessage(HELLO[0], name=NAMED[0])]).text, NAMED[1])


def schema(chat, method):
    answer = chat.with_structured_output(Person, method=method).invoke("A person")
    assert isinstance(answer, Person)


def embeddings():
    # By default, this class sends tokens instead of text. Its encoding is downloaded, so texts are sent here.
    vectors = OpenAIEmbeddings(**SERVICE, model="embeddings", check_embedding_ctx_length=False)
    assert len(vectors.embed_documents(["one", "two"])) == 2


for name, uses_responses in (("chat", False), ("responses", True)):
    used = ChatOpenAI(**SERVICE, model="default", use_responses_api=uses_responses)
    check(f"{name}: stream", lambda: stream(used))
    check(f"{name}: tools", lambda: tools(used))
    check(f"{name}: two turns", lambda: two_turns(used))
    check(f"{name}: one call at a time", lambda: single_calls(uses_responses))
    if not uses_responses:
        check(f"{name}: named messages", lambda: named(used))
    check(f"{name}: answer by schema", lambda: schema(used, "json_schema"))
    check(f"{name}: answer by a required tool", lambda: schema(used, "function_calling"))
check("embeddings", embeddings)
