"""Checks the combination of a chat request's fields, and whether its model supports them.

These are the version-2 rules for tool calls (the default since 2026-07-21), the models' capabilities, images, strict schemas and
the context window. A request that passes is answered.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from langchain_cerebras_demo.testing.checks import shape_problems
from langchain_cerebras_demo.testing.models import image_parts, prompt_tokens
from langchain_cerebras_demo.testing.refusals import RefusedError, flat

if TYPE_CHECKING:
    from langchain_cerebras_demo.testing.models import LoopbackModel


MAX_IMAGES = 5
MAX_IMAGE_BYTES = 10 * 1024 * 1024
_IMAGE_URI = re.compile(r"data:image/(?:png|jpeg|jpg);base64,(.+)", re.DOTALL)


def refuse(message: str, param: str) -> NoReturn:
    """Raise the flat 400 for a request that is well-formed but invalid."""
    raise RefusedError(400, flat(message, "invalid_request_error", param, "wrong_api_format"))


def find_model(name: str, models: Mapping[str, LoopbackModel]) -> LoopbackModel:
    """Return the model of this id. Raises ``RefusedError`` (404) for any other, including retired ones."""
    if name not in models:
        message = f"Model {name} does not exist or you do not have access to it."
        raise RefusedError(404, flat(message, "not_found_error", "model", "model_not_found"))
    return models[name]


def check_chat(body: Any, models: Mapping[str, LoopbackModel]) -> LoopbackModel:
    """Return the model that answers this request. Raises ``RefusedError`` with the service's message if it is invalid."""
    if problems := shape_problems(body):
        refuse("\n".join(problems), "validation_error")
    model = find_model(body["model"], models)
    check_tool_history(body["messages"])
    check_tools(body)
    check_reasoning(body, model)
    check_images(body["messages"], model)
    check_response_format(body, model)
    check_the_rest(body, model)
    check_window(body, model)
    return model


def check_tool_history(messages: list[dict[str, Any]]) -> None:
    """Check that each call is answered once, by a tool message directly after its turn, with known and unique ids."""
    open_ids: set[str] = set()
    all_ids: set[str] = set()
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_ids:
                refuse(
                    f"messages.{index}.tool.tool_call_id: '{message['tool_call_id']}' answers no tool call of the"
                    " assistant message directly before",
                    "messages",
                )
            open_ids.remove(message["tool_call_id"])
            continue
        if open_ids:
            break
        for call in message.get("tool_calls") or ():
            if call["id"] in all_ids:
                refuse(f"messages.{index}.assistant.tool_calls: duplicate id '{call['id']}'", "messages")
            all_ids.add(call["id"])
            open_ids.add(call["id"])
    if open_ids:
        refuse(f"messages: tool calls without a tool message directly behind: {sorted(open_ids)}", "messages")


def check_tools(body: Mapping[str, Any]) -> None:
    """Check that a choice names one of the tools, and that no two tools have the same name."""
    tools = [tool["function"] for tool in body.get("tools") or ()]
    names = [tool["name"] for tool in tools]
    choice = body.get("tool_choice")
    if choice is not None and not tools:
        refuse("'tool_choice' is only allowed when 'tools' are given", "tool_choice")
    if isinstance(choice, dict) and choice["function"]["name"] not in names:
        refuse(f"tool_choice: there is no tool '{choice['function']['name']}'", "tool_choice")
    if len(set(names)) < len(names):
        refuse("tools: two tools have the same name", "tools")
    for tool in tools:
        if tool.get("strict") and tool.get("parameters") and (problems := strict_problems(tool["parameters"])):
            refuse("\n".join(problems), "tools")


def check_reasoning(body: Mapping[str, Any], model: LoopbackModel) -> None:
    """Check that the model supports effort and format; ``raw`` cannot be combined with JSON."""
    effort, form = body.get("reasoning_effort"), body.get("reasoning_format", "none")
    if effort is not None and effort not in model.reasoning_efforts:
        refuse(f"reasoning_effort '{effort}' is not supported by model {model.id}", "reasoning_effort")
    if form not in model.reasoning_formats:
        refuse(f"reasoning_format '{form}' is not supported by model {model.id}", "reasoning_format")
    if body.get("disable_reasoning") and not model.takes_disable_reasoning:
        refuse(f"disable_reasoning is not supported by model {model.id}", "disable_reasoning")
    wanted = (body.get("response_format") or {}).get("type", "text")
    if form == "raw" and wanted != "text":
        refuse(f"reasoning_format 'raw' cannot be used with response_format '{wanted}'", "reasoning_format")


def check_images(messages: list[dict[str, Any]], model: LoopbackModel) -> None:
    """Check images: PNG or JPEG as base64 data URIs, in user messages, at most five and ten megabytes."""
    if not (parts := image_parts(messages)):
        return
    if not model.image_inputs:
        refuse(f"Model {model.id} does not support image inputs", "messages")
    if image_parts(message for message in messages if message["role"] != "user"):
        refuse("images are only allowed in user messages", "messages")
    size = 0
    for part in parts:
        found = _IMAGE_URI.fullmatch(part["image_url"]["url"] if part["type"] == "image_url" else part["image"])
        if not found:
            refuse("an image must be a base64 data URI of type image/png or image/jpeg", "messages")
        try:
            size += len(base64.b64decode(found[1], validate=True))
        except binascii.Error:
            refuse("an image's data is not base64", "messages")
    if len(parts) > MAX_IMAGES or size > MAX_IMAGE_BYTES:
        message = f"At most {MAX_IMAGES} images and {MAX_IMAGE_BYTES} bytes are allowed."
        raise RefusedError(413, flat(message, "invalid_request_error", "messages", "content_too_large"))


def check_response_format(body: Mapping[str, Any], model: LoopbackModel) -> None:
    """Check the limits of a strict schema, and that no tools are sent with a format unless the model accepts both."""
    kind = (body.get("response_format") or {}).get("type", "text")
    if kind != "text" and body.get("tools") and not model.response_format_with_tools:
        refuse(f"tools cannot be used with response_format '{kind}' on model {model.id}", "response_format")
    wanted = (body.get("response_format") or {}).get("json_schema") or {}
    if wanted.get("strict") and (problems := strict_problems(wanted.get("schema") or {})):
        refuse("\n".join(problems), "response_format")


def check_the_rest(body: Mapping[str, Any], model: LoopbackModel) -> None:
    """Check predictions, log probabilities and parameters that no public model declares."""
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        refuse("'top_logprobs' needs 'logprobs'", "top_logprobs")
    if body.get("model_parameters"):
        refuse(f"Model {model.id} declares no model_parameters", "model_parameters")
    if body.get("prediction") is not None:
        if not model.predictions:
            refuse(f"prediction is not supported by model {model.id}", "prediction")
        if body.get("tools") or body.get("logprobs") or (body.get("n") or 1) > 1:
            refuse("prediction cannot be used with tools, logprobs or n > 1", "prediction")


def check_window(body: Mapping[str, Any], model: LoopbackModel) -> None:
    """Check that prompt and requested answer fit the context window."""
    limit = body.get("max_completion_tokens")
    limit = body.get("max_tokens") if limit is None else limit
    wanted = prompt_tokens(body, model) + max(limit or 0, 0)
    if wanted > model.context_window:
        message = (
            "Please reduce the length of the messages or completion."
            f" Current length is {wanted} while limit is {model.context_window}"
        )
        raise RefusedError(400, flat(message, "invalid_request_error", "messages", "context_length_exceeded"))


UNSUPPORTED = {"pattern", "format", "minItems", "maxItems", "minLength", "maxLength", "$anchor", "definitions"} | {
    "patternProperties"
}
MAX_DEPTH = 10
MAX_CHARACTERS = 5_000
MAX_PROPERTIES = 500
MAX_ENUM_VALUES = 500
MAX_BRANCHES = 5

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def strict_problems(schema: Mapping[str, Any]) -> list[str]:
    """Return why a strict schema is refused, one sentence per problem; empty = it is accepted."""
    problems = [] if schema.get("type") == "object" else ["the root of a strict schema must be an object"]
    nodes = list(walk(schema))
    fields = sorted({key for _, node in nodes for key in node if key in UNSUPPORTED})
    fields += ["items"] if any(node.get("items") is True for _, node in nodes) else []
    if fields:
        problems.append(f"Unsupported JSON schema fields: {{{', '.join(map(repr, fields))}}}")
    for _, node in nodes:
        problems += node_problems(node, schema)
    if max(depth for depth, _ in nodes) > MAX_DEPTH:
        problems.append(f"the schema is nested deeper than {MAX_DEPTH} levels")
    if sum(map(counted_characters, (node for _, node in nodes))) > MAX_CHARACTERS:
        problems.append(f"the names and enum values of the schema are longer than {MAX_CHARACTERS} characters")
    if sum(len(node.get("properties", ())) for _, node in nodes) > MAX_PROPERTIES:
        problems.append(f"the schema has more than {MAX_PROPERTIES} properties")
    if sum(len(node.get("enum", ())) for _, node in nodes) > MAX_ENUM_VALUES:
        problems.append(f"the schema has more than {MAX_ENUM_VALUES} enum values")
    return problems + recursion_problems(schema)


def counted_characters(node: Mapping[str, Any]) -> int:
    """Return the characters of names and enum values of one schema, which the service counts; descriptions are free."""
    values = [*node.get("enum", ()), *([node["const"]] if "const" in node else ())]
    return sum(map(len, (*node.get("properties", ()), *node.get("$defs", ()), *map(str, values))))


def walk(schema: Any, depth: int = 0) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield every schema inside a schema with its depth, the schema itself first."""
    if not isinstance(schema, dict):
        return
    yield depth, schema
    for group in ("properties", "$defs", "definitions"):
        members = schema.get(group)
        for member in members.values() if isinstance(members, dict) else ():
            yield from walk(member, depth + (group == "properties"))
    yield from walk(schema.get("items"), depth + 1)
    for group in ("anyOf", "oneOf", "allOf", "prefixItems"):
        branches = schema.get(group)
        for member in branches if isinstance(branches, list) else ():
            yield from walk(member, depth)


def node_problems(node: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with one schema on its own."""
    kind = node.get("type")
    if isinstance(kind, list):
        yield "'type' must be one word; use anyOf instead of a list of types"
    if (kind == "object" or "properties" in node) and node.get("additionalProperties") is not False:
        yield "'additionalProperties' must be false on every object of a strict schema"
    if len(node.get("anyOf", ())) > MAX_BRANCHES:
        yield f"'anyOf' has more than {MAX_BRANCHES} branches"
    if "enum" in node and not enum_is_typed(node["enum"], kind):
        yield "the values of an enum must all be of one type, that of the schema"
    reference = node.get("$ref")
    if reference is not None and definition(reference, root) is None:
        yield f"'$ref' must point to a member of '$defs' of the same schema, not to {reference!r}"


def enum_is_typed(values: list[Any], kind: Any) -> bool:
    """Return whether all values have the declared type, or the same type if none is declared."""
    if isinstance(kind, str):
        allowed = _JSON_TYPES.get(kind, (object,))
        return all(isinstance(value, allowed) and (kind == "boolean" or type(value) is not bool) for value in values)
    return len({type(value) for value in values}) <= 1


def definition(reference: str, root: Mapping[str, Any]) -> Any:
    """Return the member of ``$defs`` that a reference names, or ``None``."""
    prefix, _, name = reference.rpartition("/")
    return root.get("$defs", {}).get(name) if prefix == "#/$defs" else None


def recursion_problems(root: Mapping[str, Any]) -> list[str]:
    """Return a problem if a definition refers to itself, directly or not."""
    reaches = {
        name: {node["$ref"].rpartition("/")[2] for _, node in walk(part) if "$ref" in node}
        for name, part in root.get("$defs", {}).items()
    }
    for start, reached in reaches.items():
        seen: set[str] = set()
        waiting = set(reached)
        while waiting:
            name = waiting.pop()
            if name == start:
                return [f"recursive schemas are not supported: '$defs/{start}' contains itself"]
            seen.add(name)
            waiting |= reaches.get(name, set()) - seen
    return []
