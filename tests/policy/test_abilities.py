"""What a model cannot do is refused before sending, or left out where that is the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from langchain_cerebras_demo.catalog import find_spec
from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.policy.abilities import answers_by_call, check_images, fit, keep_reasoning, replay_of

GPT_OSS, QWEN, GLM, LLAMA, KIMI, GEMMA = (
    find_spec(name)
    for name in ("gpt-oss-120b", "qwen-3.8-27b", "zai-glm-4.7", "llama-3.3-70b", "kimi-k2.7-code", "gemma-4-31b")
)
TOOL = {"type": "function", "function": {"name": "f"}}
STRICT = {"type": "function", "function": {"name": "g", "strict": True}}

FITS = [
    (GPT_OSS, {"tools": [TOOL], "parallel_tool_calls": True}, {"tools": [TOOL], "parallel_tool_calls": True}),
    (QWEN, {"tools": [TOOL], "parallel_tool_calls": True}, {"tools": [TOOL], "parallel_tool_calls": True}),
    (None, {"tools": [TOOL], "parallel_tool_calls": True}, {"tools": [TOOL], "parallel_tool_calls": True}),
    (QWEN, {"tools": [], "parallel_tool_calls": True}, {}),
    (QWEN, {"disable_reasoning": True}, {"reasoning_effort": "none"}),
    (GLM, {"disable_reasoning": True}, {"reasoning_effort": "none"}),
    (GLM, {"disable_reasoning": True, "reasoning_effort": "none"}, {"reasoning_effort": "none"}),
    (
        GLM,
        {"disable_reasoning": False, "reasoning_effort": "low"},
        {"disable_reasoning": False, "reasoning_effort": "low"},
    ),
    (LLAMA, {"reasoning_effort": "none"}, {}),
    (GLM, {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    (None, {"reasoning_effort": "none"}, {"reasoning_effort": "none"}),
    (None, {"reasoning_effort": "max"}, {"reasoning_effort": "max"}),
    (KIMI, {"reasoning_effort": "max"}, {"reasoning_effort": "max"}),
    (GPT_OSS, {"reasoning_format": "hidden"}, {"reasoning_format": "hidden"}),
    (KIMI, {"tools": [STRICT, STRICT]}, {"tools": [STRICT, STRICT]}),
]


@pytest.mark.parametrize(("spec", "given", "fitted"), FITS)
def test_parameters_are_fitted_to_the_model(spec, given, fitted):
    """What the model supports is sent, under the current name."""
    assert fit(given, spec, check=True) == fitted


REFUSED = [
    (GPT_OSS, {"reasoning_effort": "none"}, r"'none'.*gpt-oss-120b.*'low', 'medium', 'high'"),
    (
        GPT_OSS,
        {"reasoning_effort": "max"},
        r"'max' is not supported by gpt-oss-120b: use 'low', 'medium', 'high'",
    ),
    (GLM, {"reasoning_effort": "max"}, r"'max' is not supported by zai-glm-4.7.*'none', 'low', 'medium', 'high'"),
    (QWEN, {"reasoning_format": "hidden"}, r"'hidden' is not supported by qwen-3.8-27b"),
    (GEMMA, {"reasoning_format": "raw"}, r"'raw' is not supported by gemma-4-31b"),
    (KIMI, {"tools": [TOOL, STRICT]}, r"some tools are strict and others are not"),
    (LLAMA, {"reasoning_effort": "high"}, r"llama-3.3-70b does not reason"),
    (replace(GPT_OSS, tool_calling=False), {"tools": [TOOL]}, r"does not support tools"),
    (None, {"tool_choice": "auto"}, r"tool_choice='auto' needs tools"),
    *(
        (
            spec,
            {"disable_reasoning": True, "reasoning_effort": "high"},
            r"disable_reasoning=True.*reasoning_effort='high'",
        )
        for spec in (None, GPT_OSS)
    ),
    (None, {"top_logprobs": 2}, r"top_logprobs=2 needs logprobs"),
    (None, {"reasoning_format": "raw", "response_format": {"type": "json_object"}}, r"cannot be combined"),
]


@pytest.mark.parametrize(("spec", "given", "words"), REFUSED)
def test_what_the_model_cannot_do_is_refused_by_name(spec, given, words):
    """With the remedy; unchecked it goes out as it is."""
    with pytest.raises(InvalidRequestError, match=words):
        fit(given, spec, check=True)
    assert fit(given, spec, check=False) == given


def test_reasoning_that_is_disabled_has_no_effort():
    """Beside an effort this is a contradiction; unchecked, the effort gives way."""
    given = {"disable_reasoning": True, "reasoning_effort": "high"}
    with pytest.raises(
        InvalidRequestError, match=r"disable_reasoning=True.*reasoning_effort='high': leave one of them out"
    ):
        fit(given, QWEN, check=True)
    assert fit(given, QWEN, check=False) == {"reasoning_effort": "none"}


def test_reasoning_goes_back_in_the_models_own_form():
    """As a field, as think tags, or not at all if the form is unknown."""
    assert [replay_of(spec) for spec in (GPT_OSS, QWEN, GLM, LLAMA, None)] == [
        "reasoning",
        "reasoning",
        "think_tags",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("replay", "roles", "given", "kept"),
    [
        ("think_tags", ["user", "assistant", "user"], {"seed": 1}, {"seed": 1, "clear_thinking": False}),
        ("think_tags", ["user", "assistant", "user"], {"clear_thinking": True}, {"clear_thinking": True}),
        ("think_tags", ["user"], {}, {}),
        ("reasoning", ["user", "assistant", "user"], {}, {}),
        (None, ["user", "assistant", "user"], {}, {}),
    ],
)
def test_the_service_keeps_reasoning_that_is_sent_as_think_tags(replay, roles, given, kept):
    """Unless the user has said what it does; without an earlier answer there is nothing to keep."""
    assert keep_reasoning(given, [{"role": role, "content": ""} for role in roles], replay) == kept


SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("spec", "given", "by_call"),
    [
        (GPT_OSS, {"tools": [TOOL], "response_format": SCHEMA}, True),
        (KIMI, {"tools": [TOOL], "response_format": SCHEMA}, True),
        (QWEN, {"tools": [TOOL], "response_format": {"type": "json_object"}}, True),
        (QWEN, {"tools": [TOOL], "response_format": {"type": "text"}}, False),
        (QWEN, {"tools": [TOOL], "response_format": {"type": ["json_schema"]}}, False),
        (QWEN, {"tools": [TOOL]}, False),
        (QWEN, {"tools": [], "response_format": SCHEMA}, False),
        (replace(QWEN, response_format_with_tools=True), {"tools": [TOOL], "response_format": SCHEMA}, False),
        (None, {"tools": [TOOL], "response_format": SCHEMA}, False),
    ],
)
def test_tools_and_a_schema_go_out_together_where_the_model_documents_it(spec, given, by_call):
    """Or where nothing is known of the model."""
    assert answers_by_call(given, spec) is by_call


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TEXT = {"type": "text", "text": "What is this?"}


@pytest.mark.parametrize("kind", ["image_url", "image"])
def test_an_image_for_a_model_that_reads_text_is_refused_by_its_place(kind):
    """With the models that read images as the remedy."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [TEXT, {**IMAGE, "type": kind}]},
    ]
    with pytest.raises(InvalidRequestError, match=r"^messages\[1\].content\[1\] is an image, .*such as qwen-3.8-27b"):
        check_images(messages, GPT_OSS)


@pytest.mark.parametrize("spec", [QWEN, GEMMA, None, replace(GPT_OSS, inputs=())])
def test_an_image_for_any_other_model_is_sent(spec):
    """Also for a model without a row, and one whose row does not say what it reads."""
    check_images([{"role": "user", "content": [IMAGE]}], spec)
    check_images([{"role": "assistant", "content": None}, {"role": "user", "content": [TEXT]}], GPT_OSS)
