"""Runs openai-python's own tests of its resources against Lambent, as a plugin of pytest.

The tests are written for a server that answers any request with an example. Their requests name objects that don't
exist, such as `resp_123`, and have values that OpenAI's API refuses. Before a request is sent, this plugin replaces
both: ids by those of objects that it creates, and values as each line below says.
"""

import json
import os
import re

import httpx2
import openai
import pytest

AUTHORIZATION = {"authorization": f"Bearer {os.environ['LAMBENT_KEY']}"}
# Method and path of each route, such as "GET v1/responses/{id}".
ROUTES = [route.split(" ") for route in json.loads(os.environ["LAMBENT_ROUTES"])]
RESULTS = os.fdopen(os.dup(1), "w")

service = httpx2.Client(
    base_url=os.environ["TEST_API_BASE_URL"], headers=AUTHORIZATION, timeout=60, trust_env=False
)


def create(path, **body):
    """Creates an object and returns its id."""
    response = service.post(path, json=body)
    response.raise_for_status()
    return response.json()["id"]


def create_response(**more):
    return create("/responses", model="default", input="Hello", **more)


def create_streamed_response():
    """Creates a response that can be streamed again."""
    body = {"model": "default", "input": "Hello", "background": True, "stream": True}
    with service.stream("POST", "/responses", json=body) as response:
        first = next(line for line in response.iter_lines() if line.startswith("data: "))
    return json.loads(first.removeprefix("data: "))["response"]["id"]


def create_chat():
    # The client's type of a stored message has the role `assistant` only.
    messages = [{"role": "assistant", "content": "Hello"}]
    return create("/chat/completions", model="default", messages=messages, store=True)


def create_conversation():
    return create("/conversations", items=[{"type": "message", "role": "user", "content": "Hello"}])


def first_of(path):
    """Returns the id of the first object of a list."""
    response = service.get(path)
    response.raise_for_status()
    return response.json()["data"][0]["id"]


def replace_path(options):
    """Puts ids of real objects into the path and the query."""
    parts = options.url.strip("/").split("/")
    params = dict(options.params)
    if parts[:2] == ["chat", "completions"]:
        if len(parts) > 2 or "after" in params:
            parts[2:3] = [create_chat()] if len(parts) > 2 else []
            if len(parts) == 2:
                create_chat()
    elif parts[0] == "conversations" and len(parts) > 1:
        parts[1] = create_conversation()
        if len(parts) > 3:
            parts[3] = first_of(f"/conversations/{parts[1]}/items")
    elif parts[0] == "responses" and len(parts) > 1 and parts[1] not in ("compact", "input_tokens"):
        # Only responses in the background can be cancelled.
        parts[1] = create_streamed_response() if "stream" in params else create_response(background=parts[-1] == "cancel")
    options.url = "/" + "/".join(parts)
    if "after" in params:
        params["after"] = first_of(options.url)
    # "Limit can range between 1 and 100."
    if params.get("limit") == 0:
        params["limit"] = 1
    options.params = params


def replace_values(options, is_strict):
    """Puts ids of real objects, and values that OpenAI's API accepts, into the body."""
    if not isinstance(options.json_data, dict):
        return
    body = {**options.json_data}
    options.json_data = body
    if body.get("conversation") is not None:
        body["conversation"] = create_conversation()
        # "Cannot be used in conjunction with `conversation`."
        body.pop("previous_response_id", None)
    if body.get("previous_response_id") is not None:
        body["previous_response_id"] = create_response()
    if options.url in ("/responses", "/responses/compact"):
        # Both are optional in the types, but a response is generated from something by some model. The compacted list
        # has the user's messages, for which the client has no type.
        body.setdefault("model", "default")
        body.setdefault("input", [{"role": "assistant", "content": "Hello"}])
    if options.url == "/chat/completions" and body.get("max_tokens") == 0:
        # No answer has no tokens, and the first of these replaces the second.
        body["max_completion_tokens"] = 16
        del body["max_tokens"]
        # The keys are ids of tokens.
        body["logit_bias"] = {"50256": 0}
        if not body.get("stream"):
            # "Only set this when you set `stream: true`."
            del body["stream_options"]
    if options.url == "/responses" and not body.get("stream"):
        body.pop("stream_options", None)
    if options.url == "/embeddings" and is_strict:
        # Without a format the client asks for base64, which it then refuses in its strict mode.
        body["encoding_format"] = "float"


def is_served(method, url):
    path = re.sub(r"^", "v1", url)
    return any(
        method.upper() == name and re.fullmatch(re.sub(r"\{\w+\+?\}", "[^/]+", route), path) for name, route in ROUTES
    )


def prepare(client, options):
    if not is_served(options.method, options.url):
        pytest.skip("not served")
    replace_path(options)
    replace_values(options, client._strict_response_validation)
    options.headers = {**(options.headers or {}), **AUTHORIZATION}
    return options


def patch_clients():
    prepare_sync = openai.OpenAI._prepare_options
    prepare_async = openai.AsyncOpenAI._prepare_options

    def prepare_options(self, options):
        return prepare(self, prepare_sync(self, options))

    async def prepare_options_async(self, options):
        return prepare(self, await prepare_async(self, options))

    openai.OpenAI._prepare_options = prepare_options
    openai.AsyncOpenAI._prepare_options = prepare_options_async


patch_clients()


def pytest_runtest_logreport(report):
    """Prints the result of each test as a line of JSON."""
    if report.skipped or (report.when != "call" and not report.failed):
        return
    result = {"check": report.nodeid.removeprefix("tests/api_resources/")}
    if report.failed:
        lines = [line[1:].strip() for line in report.longreprtext.splitlines() if line.startswith("E ")]
        result["error"] = "\n".join(lines) or report.longreprtext[-500:]
    # pytest's own line has begun.
    print(f"\n{json.dumps(result)}", file=RESULTS, flush=True)
