"""The settings that answers depend on, and how differences are named."""

from __future__ import annotations

import json
from dataclasses import dataclass

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.bulk.journal import differences, fingerprint

KEY = "csk-sentinel0123456789"


def make(**arguments):
    return ChatCerebrasDemo(base_url="http://127.0.0.1:1/v1", api_key=KEY, **arguments)


def test_equal_settings_have_no_difference():
    """Through JSON, as they stand in the journal; what only paces is none of them."""
    one = fingerprint(make(temperature=0.2), "{a}", "Be brief.")
    two = fingerprint(make(temperature=0.2, max_concurrency=3, rate_limit=None, timeout=5), "{a}", "Be brief.")
    assert differences(json.loads(json.dumps(one)), two) == []


def test_every_difference_is_named():
    """Model, parameter, template, system, schema: what it was and what it is."""
    one = fingerprint(make(temperature=0.2), "Say {a}", None, {"title": "A"})
    two = fingerprint(make(model="zai-glm-4.7", max_tokens=5), "Sag {a}", "Be brief.", {"title": "B"})
    found = [f"{name} was {old} and is {new}" for name, old, new in differences(one, two)]
    assert sorted(found) == [
        "model.max_tokens was not set and is 5",
        'model.model_name was "gpt-oss-120b" and is "zai-glm-4.7"',
        "model.temperature was 0.2 and is not set",
        'schema.title was "A" and is "B"',
        'system was not set and is "Be brief."',
        'template was "Say {a}" and is "Sag {a}"',
    ]


def test_a_chain_is_its_parts():
    """A prompt template's text, what is bound, and a parser by its kind."""

    def chain(text, **bound):
        return ChatPromptTemplate.from_template(text) | make().bind(**bound) | StrOutputParser()

    base = fingerprint(chain("Say {a}"))
    assert differences(base, fingerprint(chain("Say {a}"))) == []
    assert len(differences(base, fingerprint(chain("Sag {a}")))) == 1
    assert differences(base, fingerprint(chain("Say {a}", seed=5))) == [("model.1.kwargs.seed", "not set", "5")]


class Place(BaseModel):
    name: str


@dataclass
class Point:
    x: int


def test_schemas_of_all_kinds_are_compared_by_their_fields():
    """A class of the same name with another field is another schema."""
    kinds = [fingerprint(make(), schema=schema) for schema in (Place, Point, {"title": "Place"}, None)]
    assert all(differences(one, other) for one in kinds for other in kinds if one is not other)
    assert differences(kinds[0], fingerprint(make(), schema=Place)) == []


def test_no_key_and_no_password_is_in_it():
    """Of this package's model, of a chain, and of any other object."""
    proxied = ChatCerebrasDemo(base_url="http://127.0.0.1:1/v1", api_key=KEY, proxy="http://u:word@p:1")
    foreign = type("Foreign", (), {"_identifying_params": {"openai_api_key": KEY, "nested": {"client_secret": KEY}}})()
    for thing in (foreign, make(), make() | StrOutputParser(), proxied, type("Foreign", (), {"key": KEY})()):
        shown = json.dumps(fingerprint(thing))
        assert KEY not in shown
        assert "word" not in shown
