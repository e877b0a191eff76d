"""Content blocks to the API's parts: texts, images, tool results, and what is no part."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_cerebras_demo.chat_models.messages import to_wire

PNG, JPEG = "iVBORw0KGgo=", "/9j/4AAQSkY="
URI = f"data:image/png;base64,{PNG}"
IMAGE = {"type": "image_url", "image_url": {"url": URI}}
JPEG_PART = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{JPEG}"}}


def text(words):
    return {"type": "text", "text": words}


def alone(message):
    """The message without its neighbours, which the rules for a history ask for."""
    return to_wire([message], check=False)


# -- images

IMAGES = {
    "OpenAI's": (IMAGE, IMAGE),
    "OpenAI's with a detail": ({"type": "image_url", "image_url": {"url": URI, "detail": "low"}, "index": 0}, IMAGE),
    "OpenAI's without a detail": ({"type": "image_url", "image_url": {"url": URI, "detail": None}}, IMAGE),
    "as people write OpenAI's": ({"type": "image_url", "image_url": URI}, IMAGE),
    "LangChain's v1": ({"type": "image", "base64": JPEG, "mime_type": "image/jpeg", "id": "x"}, JPEG_PART),
    "LangChain's v1 with a data URI": ({"type": "image", "url": URI}, IMAGE),
    "LangChain's v0": ({"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"}, IMAGE),
    "LangChain's v0 with a data URI": ({"type": "image", "source_type": "url", "url": URI}, IMAGE),
    "Anthropic's": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": JPEG}},
        JPEG_PART,
    ),
    "Anthropic's with a data URI": ({"type": "image", "source": {"type": "url", "url": URI}}, IMAGE),
    "the API's own": ({"type": "image", "image": URI}, IMAGE),
}


@pytest.mark.parametrize("case", IMAGES)
def test_every_kind_of_image_goes_out_as_one(case):
    """A data URI, in a user's message; texts keep their place beside it."""
    block, part = IMAGES[case]
    assert to_wire([HumanMessage(["see", block])]) == [{"role": "user", "content": [text("see"), part]}]


def test_a_detail_is_left_out_unless_nothing_is_checked():
    """The service does not support it."""
    block = {"type": "image_url", "image_url": {"url": URI, "detail": "low"}}
    assert alone(HumanMessage([block]))[0]["content"] == [block]


BAD_IMAGES = {
    "a URL": (
        {"type": "image_url", "image_url": {"url": "https://e.example/a.png"}},
        r"https://e\.example/a\.png\).*base64",
    ),
    "a v1 URL": ({"type": "image", "url": "https://e.example/a.png"}, r"the API does not accept .*download"),
    "Anthropic's URL": ({"type": "image", "source": {"type": "url", "url": "https://e.example/a"}}, "download"),
    "another type": (
        {"type": "image", "base64": "AAAA", "mime_type": "image/webp"},
        r"\(data:image/webp;base64\).*PNG or",
    ),
    "no base64": ({"type": "image", "base64": "AAAA!", "mime_type": "image/png"}, r"not base64.*b64encode"),
    "letters beyond ASCII": ({"type": "image", "base64": "ä", "mime_type": "image/png"}, "not base64"),
    "nothing in it": ({"type": "image_url", "image_url": "data:image/png;base64,"}, "not base64"),
}
NO_IMAGES = {
    "no type": ({"type": "image", "base64": PNG}, r"mime_type None.*'image/png'"),
    "bytes": ({"type": "image", "base64": b"x", "mime_type": "image/png"}, "data of type bytes"),
    "a file's id": ({"type": "image", "file_id": "f1"}, r"without data \(it has file_id, type\)"),
    "Bedrock's": ({"type": "image", "image": {"format": "png"}}, "without data"),
    "no URL": ({"type": "image_url", "image_url": {"detail": "low"}}, "without data"),
}


@pytest.mark.parametrize("case", {**BAD_IMAGES, **NO_IMAGES})
def test_an_image_that_the_api_does_not_take_is_refused_by_name(case):
    """With its place, what it is and what to do."""
    block, words = {**BAD_IMAGES, **NO_IMAGES}[case]
    with pytest.raises(ValueError, match=r"^messages\[1\]\.content\[1\] is an image .*" + words):
        to_wire([SystemMessage("s"), HumanMessage(["see", block])])


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_unchecked_an_image_goes_out_as_it_is(case):
    """The service may accept later what it refuses today."""
    assert alone(HumanMessage([BAD_IMAGES[case][0]]))[0]["content"][0]["type"] == "image_url"


def test_the_refusal_of_an_image_shows_no_secret_of_its_url():
    """A signed URL's query and a password are secrets."""
    block = {"type": "image_url", "image_url": "https://ann:secret@e.example/a.png?signature=secret#secret"}
    with pytest.raises(ValueError, match=r"\(https://e\.example/a\.png\)") as caught:
        to_wire([HumanMessage([block])])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "message", [SystemMessage([IMAGE]), AIMessage([IMAGE]), ChatMessage([IMAGE], role="developer")]
)
def test_an_image_of_anybody_but_the_user_is_refused_by_name(message):
    """The API accepts images in user messages only; without checks it is sent."""
    with pytest.raises(
        ValueError, match=r"messages\[0\]\.content\[0\] is an image in a message of role .*user messages only"
    ):
        to_wire([message])
    assert alone(message)[0]["content"] == [IMAGE]


# -- tool results

RESULTS = {
    "a text": (ToolMessage("5", tool_call_id="c1"), "5"),
    "neither name nor status": (
        ToolMessage("5", tool_call_id="c1", name="add", status="error", artifact=object()),
        "5",
    ),
    "nothing between the texts": (ToolMessage([text("5"), " and ", text("6")], tool_call_id="c1"), "5 and 6"),
    "what is no text as JSON": (
        ToolMessage(["5", {"type": "json", "json": {"a": "ü"}}, {"b": [1]}], tool_call_id="c1"),
        '5{"type": "json", "json": {"a": "ü"}}{"b": [1]}',
    ),
    "nothing": (ToolMessage([], tool_call_id="c1"), ""),
}


@pytest.mark.parametrize("case", RESULTS)
def test_a_tools_result_goes_out_as_one_string(case):
    """Every server reads that."""
    message, result = RESULTS[case]
    assert alone(message) == [{"role": "tool", "tool_call_id": "c1", "content": result}]


# -- what is no part


def block(kind, **more):
    return {"type": kind, **more}


BLOCKS = [
    *(block(kind) for kind in ("server_tool_call", "server_tool_result", "non_standard", "file", "audio", "video")),
    *(block(kind) for kind in ("input_audio", "text-plain", "document", "web_search_call", "input_text")),
    {"text": "no type"},
    {"type": ["text"]},
]
MESSAGES = (HumanMessage, SystemMessage, AIMessage)


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("unknown", BLOCKS, ids=str)
def test_a_block_that_the_api_does_not_take_is_refused_by_name(message, unknown):
    """Nothing is dropped silently, for any role, checked or not."""
    with pytest.raises(ValueError, match=r"^messages\[0\]\.content\[1\] is a block of type .* use a text block"):
        alone(message(["a", unknown]))


@pytest.mark.parametrize("content", [b"a", None, 5, [5], [None]])
@pytest.mark.parametrize("message", [HumanMessage("a"), AIMessage("a"), ToolMessage("a", tool_call_id="c1")])
def test_content_of_a_wrong_type_is_refused_by_name(message, content):
    """LangChain does not look at what is assigned later."""
    message = message.model_copy(update={"content": content})
    with pytest.raises(TypeError, match=r"^messages\[0\]\.content(\[0\])? is of type .*: give a str or a"):
        alone(message)
