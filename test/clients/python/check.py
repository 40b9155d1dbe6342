"""What the drivers in Python share. It matches ../node/check.ts."""

import json
import os
import re

BASE_URL = os.environ["LAMBENT_URL"]
API_KEY = os.environ["LAMBENT_KEY"]
# The built-in guide is not a language model.
IS_GUIDE = os.environ["LAMBENT_KIND"] == "guide"

# What the drivers ask, and the answers that they expect of the scripted model (../model/decide.ts) or the guide.
HELLO = ("Hello", r"not a language model" if IS_GUIDE else r"^You said: Hello$")
WEATHER = ("How is the weather in Paris?", r"don't call tools" if IS_GUIDE else r"sunny")
CITIES = (
    "How is the weather in Paris and Rome?",
    r"don't call tools" if IS_GUIDE else r"(?s)sunny in Paris.*sunny in Rome",
)
BEFORE = ("What did I say before?", r"\w" if IS_GUIDE else r"^Before, you said: Hello$")
# The answer to HELLO from a user of the name Ada.
NAMED = ("Ada", r"not a language model" if IS_GUIDE else r"^You said: Ada: Hello$")


def check(name, run):
    """Runs a check and prints its result as a line of JSON, which run.ts reads."""
    try:
        run()
        result = {"check": name}
    except Exception as error:  # Whatever a client raises is the check's result.
        result = {"check": name, "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result), flush=True)


def expect_text(text, expected):
    """Raises unless the text is the expected one."""
    assert re.search(expected, text or ""), f"{text!r} doesn't match {expected!r}"
