"""The arguments of the chat model, their checks, and the creation of its client."""

from __future__ import annotations

import operator
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from langchain_core.language_models.chat_models import BaseChatModel
from pydantic import (
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticOmit
from typing_extensions import Self

from langchain_cerebras_demo import catalog, local
from langchain_cerebras_demo._version import __version__
from langchain_cerebras_demo.catalog import AliasTable
from langchain_cerebras_demo.chat_models.arguments import (
    ApiKey,
    Cookies,
    ReasoningEffort,
    ReasoningFormat,
    ServiceTier,
    Tool,
    ToolChoice,
)
from langchain_cerebras_demo.chat_models.profile import CatalogProfile
from langchain_cerebras_demo.client.client import Client
from langchain_cerebras_demo.client.observers import CallStart
from langchain_cerebras_demo.client.slots import SharedSlots
from langchain_cerebras_demo.keys import MARK, ChainKeyResolver, DroppedKey, KeyResolver
from langchain_cerebras_demo.keys.chain import to_cookie_source, to_key_chain, to_key_source
from langchain_cerebras_demo.net.endpoint import check_headers, to_base_url
from langchain_cerebras_demo.net.proxies import ARGUMENT, to_proxy
from langchain_cerebras_demo.net.shutdown import refuse_at_the_end
from langchain_cerebras_demo.net.transport import Transport
from langchain_cerebras_demo.policy import RateLimit, RetryPolicy, Timeout
from langchain_cerebras_demo.records import CallRecord
from langchain_cerebras_demo.wire.request import PARAMETERS, check_parameter, to_plain_value, unknown_name_hint

CLIENT_FIELDS = (
    "base_url",
    "api_key",
    "key_resolver",
    "cookies",
    "aliases",
    "timeout",
    "max_retries",
    "max_concurrency",
    "rate_limit",
    "max_wait",
    "max_queue",
    "compress_requests",
    "on_start",
    "on_call",
    "default_headers",
    "user_agent",
    "proxy",
    "transport",
)
"""The fields that the model's client depends on. When one of them changes, the client is replaced."""

_client_settings = operator.itemgetter(*CLIENT_FIELDS)

# Names that other LangChain integrations use for the same thing.
_OTHER_NAMES = {
    "model_name": "model",
    "max_completion_tokens": "max_tokens",
    "min_completion_tokens": "min_tokens",
    "stop_sequences": "stop",
    "request_timeout": "timeout",
    "cerebras_api_key": "api_key",
    "cerebras_api_base": "base_url",
}


class ClientMemo:
    """A memo that keeps the client of a model until a field that it depends on is changed.

    Fields are compared by identity, which is fast enough for every call. A copy or a pickle of the model has an empty memo.
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[Any, ...], Client] | None = None
        self._lock = threading.Lock()  # so that two threads do not get two clients with separate slots

    def client(self, settings: tuple[Any, ...], make: Callable[[], Client]) -> Client:
        """Return the client for these settings."""
        if client := self._find(settings):
            return client
        with self._lock:
            client = self._find(settings) or make()
            self._kept = (settings, client)
            return client

    def _find(self, settings: tuple[Any, ...]) -> Client | None:
        kept = self._kept
        return kept[1] if kept is not None and all(map(operator.is_, kept[0], settings)) else None

    def __deepcopy__(self, memo: object) -> ClientMemo:
        return ClientMemo()

    def __reduce__(self) -> tuple[object, ...]:
        return (ClientMemo, ())


class _CheckedAs:
    """A marker that makes pydantic check a field as another type than its annotation, which is for readers and type checkers.

    A validator of this class does the rest; its messages name the value and the remedy.
    """

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def __get_pydantic_core_schema__(self, _annotation: Any, handler: GetCoreSchemaHandler) -> Any:
        return handler(self._kind)

    def __repr__(self) -> str:  # in the class's signature
        return "checked by a validator"


class _FieldsSchema(GenerateJsonSchema):
    """A generator that omits fields without a JSON schema, such as LangChain's callbacks and caches."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Any:  # noqa: ARG002 - pydantic's own
        raise PydanticOmit


class ChatFields(BaseChatModel):
    """The fields of ``ChatCerebrasDemo``, their checks, and the creation of its client."""

    check_requests: bool = Field(
        default=True,
        description=(
            "Whether to refuse what the API or the model does not support, here and at every call; ``False`` sends it "
            "as it is."
        ),
    )
    model: str = Field(
        default=catalog.DEFAULT_MODEL,
        description="Model id or alias; an id that the catalogue does not know is sent as it is.",
    )
    api_key: Annotated[ApiKey | None, _CheckedAs(Any)] = Field(
        default=None,
        repr=False,
        description=(
            "A key (``str`` or ``SecretStr``), or a callable (sync or async) that returns one and is called before "
            "every request."
        ),
    )
    key_resolver: Annotated[KeyResolver | None, _CheckedAs(Any)] = Field(
        default=None,
        exclude=True,
        repr=False,
        description="Any object with ``async def resolve(self) -> str``; asked before ``api_key``.",
    )
    transport: Annotated[Transport | None, _CheckedAs(Any)] = Field(
        default=None,
        exclude=True,
        repr=False,
        description="Sends the requests: any ``Transport``; by default one that all models of the process share.",
    )
    cookies: Annotated[Cookies | None, _CheckedAs(Any)] = Field(
        default=None,
        exclude=True,
        repr=False,
        description=(
            'Cookies of a signed-in session, for its demo key (experimental): ``{"name": "value"}``, a cookie file\'s path, or '
            '``"browser"``.'
        ),
    )
    aliases: Mapping[str, str] | None = Field(
        default=None,
        description="Aliases of model ids, which override the built-in ones.",
    )
    tier: Literal["trial", "paid"] | None = Field(
        default=None,
        description=(
            "The account's tier, whose limits ``profile`` then has; ``None``: the smallest limits, which are those of trials."
        ),
    )
    base_url: str | None = Field(
        default=None,
        validate_default=True,
        description=(
            "Address of the service, ending in ``/v1``; ``None``: ``CEREBRAS_BASE_URL`` when the model is made, else Cerebras; "
            '``"local"``: the embedded model.'
        ),
    )

    temperature: float | None = Field(default=None, description="Randomness of the answer, 0 to 2.")
    top_p: float | None = Field(
        default=None,
        description="Nucleus sampling: sample from the most likely tokens whose probabilities add up to this value, 0 to 1.",
    )
    max_tokens: int | None = Field(
        default=None,
        description="Maximum number of tokens of the answer, including reasoning; sent as ``max_completion_tokens``.",
    )
    min_tokens: int | None = Field(
        default=None, description="Minimum number of tokens of the answer; -1 for as many as fit."
    )
    stop: str | list[str] | None = Field(
        default=None,
        description="Up to four texts that end the answer and are not included in it.",
    )
    seed: int | None = Field(default=None, description="Makes sampling repeatable as far as the service can.")
    n: int | None = Field(default=None, description="Answers per request; more than one cannot be streamed.")
    frequency_penalty: float | None = Field(
        default=None, description="Penalty for tokens by how often they have occurred, -2 to 2."
    )
    presence_penalty: float | None = Field(default=None, description="Penalty for tokens that have occurred, -2 to 2.")
    logit_bias: dict[str, float] | None = Field(default=None, description="A bias from -100 to 100 for each token id.")
    logprobs: bool | None = Field(
        default=None,
        description='Whether to return log probabilities of the tokens, in ``response_metadata["logprobs"]``.',
    )
    top_logprobs: int | None = Field(
        default=None,
        description="How many of the most likely tokens to return at each position, 0 to 20; needs ``logprobs``.",
    )
    reasoning_effort: Annotated[ReasoningEffort | None, _CheckedAs(str | None)] = Field(
        default=None,
        description=(
            "``none``, ``low``, ``medium`` or ``high``, if the model supports it; models without a catalogue row may have other "
            "values."
        ),
    )
    reasoning_format: Annotated[ReasoningFormat | None, _CheckedAs(str | None)] = Field(
        default=None,
        description="How reasoning is returned: ``none``, ``parsed``, ``text_parsed``, ``raw`` or ``hidden``.",
    )
    disable_reasoning: bool | None = Field(
        default=None,
        description='Deprecated by the service in favour of ``reasoning_effort="none"``.',
    )
    clear_thinking: bool | None = Field(
        default=None,
        description=(
            "Whether the service drops the reasoning of earlier turns; the default is the model's: GLM drops it, Qwen "
            "keeps it."
        ),
    )
    replay_reasoning: bool | Literal["reasoning", "think_tags"] = Field(
        default=True,
        description=(
            "Whether the reasoning of earlier turns is sent to the model, in the form that the catalogue has for it; or "
            'the form itself, ``"reasoning"`` or ``"think_tags"``, for dedicated endpoints and other models without a '
            "catalogue row."
        ),
    )
    response_format: dict[str, Any] | None = Field(
        default=None,
        description='``{"type": "json_object"}``, or ``json_schema`` with its schema.',
    )
    tools: Annotated[Sequence[Tool] | None, _CheckedAs(list[dict[str, Any]] | None)] = Field(
        default=None,
        description="Tools as for ``bind_tools``, sent with every call.",
    )
    tool_choice: Annotated[ToolChoice | dict[str, Any] | None, _CheckedAs(str | dict[str, Any] | None)] = Field(
        default=None,
        description="Whether a tool is called: ``none``, ``auto``, ``required`` or a named function.",
    )
    parallel_tool_calls: bool | None = Field(default=None, description="Whether one answer may have several calls.")
    prediction: dict[str, Any] | None = Field(
        default=None,
        description="Predicted output: text that most of the answer will repeat, for faster generation.",
    )
    prompt_cache_key: str | None = Field(
        default=None,
        description="Groups requests that share a prefix; up to 1024 characters.",
    )
    service_tier: Annotated[ServiceTier | None, _CheckedAs(str | None)] = Field(
        default=None,
        description="Priority of the requests: ``auto``, ``default``, ``flex`` or ``priority``.",
    )
    queue_threshold: int | None = Field(
        default=None,
        description="Longest time in the service's queue, in milliseconds, before it refuses, 50 to 20,000; sent as a header.",
    )
    stream_options: Annotated[dict[str, bool] | None, _CheckedAs(dict[str, Any] | None)] = Field(
        default=None,
        description='``{"include_usage": bool}``; Cerebras sends usage without being asked.',
    )
    model_parameters: dict[str, Any] | None = Field(
        default=None,
        description="Parameters that the model itself defines.",
    )
    user: str | None = Field(default=None, description="An end user's id, for the service's abuse monitoring.")

    timeout: Annotated[Timeout | float | None, _CheckedAs(Any)] = Field(
        default=60.0,
        description=(
            "Seconds to connect, until the first event and between two events; or a ``Timeout``; ``None`` for no limit."
        ),
    )
    max_retries: int = Field(
        default=2,
        ge=0,
        description="Retries after the first attempt, as long as no event has been returned.",
    )
    max_concurrency: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Concurrent requests in one event loop of this model and its copies with the same key and address; others "
            "wait."
        ),
    )
    rate_limit: Annotated[RateLimit | Literal["auto"] | Mapping[str, float | None] | None, _CheckedAs(Any)] = Field(
        default="auto",
        description=(
            '``"auto"``: requests wait to stay within the limits that the service announces; ``None``: they never wait; or a '
            "``RateLimit`` (or a mapping of its fields) with your own limits, which apply as well."
        ),
    )
    max_wait: float | None = Field(
        default=None,
        ge=0,
        description=(
            "Seconds that a call may wait for a slot (``max_concurrency``) and for rate limits before it raises "
            "``RateLimitError``; ``None``: as long as the limits per second, minute and hour require."
        ),
    )
    max_queue: int | None = Field(
        default=None,
        ge=0,
        description=(
            "Calls of this model and its copies that may wait for a slot or for rate limits, in all event loops together; one more raises "
            "``QueueFullError`` at once; ``None``: any number. Rows of bulk runs are not counted against it."
        ),
    )
    coalesce: bool = Field(
        default=True,
        description=(
            "Whether tokens that arrive together are delivered as one chunk, and one call of ``on_llm_new_token``. "
            "Nothing is delayed to wait for more, and the sum of the chunks is the same."
        ),
    )
    compress_requests: bool | None = Field(
        default=None,
        description="Whether to compress large request bodies; ``None``: for cerebras.ai only, which supports it.",
    )
    on_start: Annotated[Callable[[CallStart], None] | None, _CheckedAs(Any)] = Field(
        default=None,
        exclude=True,
        repr=False,
        description=(
            "Called with a ``CallStart`` when a call begins. It must be quick and may be called on any thread; what it raises is logged "
            "and ignored."
        ),
    )
    on_call: Annotated[Callable[[CallRecord], None] | None, _CheckedAs(Any)] = Field(
        default=None,
        exclude=True,
        repr=False,
        description=(
            "Called with a ``CallRecord`` when a call ends, exactly once for every call: for metrics. It must be quick and may be called "
            "on any thread; what it raises is logged and ignored."
        ),
    )
    default_headers: dict[str, str] | None = Field(
        default=None,
        exclude=True,
        repr=False,
        description="Sent with every request. Not in ``repr`` or ``dumps``, but in pickles: pass secrets as ``api_key``.",
    )
    user_agent: str | None = Field(
        default=None, description="User-Agent of the requests, instead of ``langchain-cerebras-demo/<version>``."
    )
    proxy: Annotated[str | None, _CheckedAs(Any)] = Field(
        default=None,
        exclude=True,
        repr=False,
        description="Address of a proxy, instead of the environment's. It may contain a password; pickles contain it.",
    )
    streaming: bool | None = Field(
        default=None,
        description=(
            "``True``: ``invoke`` streams internally, for callbacks that want every token; ``False``: nothing streams, ``stream`` "
            "yields one chunk; ``None``: the method called decides."
        ),
    )
    model_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="Keys that go into the body unchecked and override everything else.",
    )

    model_config = ConfigDict(protected_namespaces=(), hide_input_in_errors=True)

    _client_memo: ClientMemo = PrivateAttr(default_factory=ClientMemo)
    _shared_slots: SharedSlots = PrivateAttr(default_factory=SharedSlots)

    if not TYPE_CHECKING:  # type checkers derive the constructor from the fields

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # If an argument is invalid, the frames of pydantic hold all arguments, including the key.
            problem: Exception | None = None
            try:
                super().__init__(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - raised again
                problem = error
                traceback.clear_frames(error.__traceback__)
            if problem is not None:
                del args, kwargs
                raise problem

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the JSON schema of the arguments, without those that JSON cannot express."""
        if not args[2:]:
            kwargs.setdefault("schema_generator", _FieldsSchema)
        return super().model_json_schema(*args, **kwargs)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if isinstance(values.get("profile"), CatalogProfile):  # from another model, whose fields were all passed on
            values = {name: value for name, value in values.items() if name != "profile"}
        renamed = {_OTHER_NAMES.get(name, name): value for name, value in values.items()}
        problem = ""
        if len(renamed) < len(values):
            alias = next(name for name in values if name in _OTHER_NAMES and _OTHER_NAMES[name] in values)
            problem = f"{alias!r} is an alias of {_OTHER_NAMES[alias]!r}: pass only one"
        elif unknown := next((name for name in renamed if name not in cls.model_fields), None):
            problem = f"unknown argument {unknown!r}{unknown_name_hint(unknown, (*cls.model_fields, *_OTHER_NAMES))}"
        if problem:
            del values, renamed  # a traceback that shows locals must not show a key
            raise TypeError(problem)
        return renamed

    # Each value is checked by a validator of its field: an error of the whole model would contain all arguments, including the
    # key.

    @field_validator(*PARAMETERS, mode="before")
    @classmethod
    def _check_parameter(cls, value: Any, info: ValidationInfo) -> Any:
        """Check the value before pydantic, which accepts text as a number and True as 1, unlike a call."""
        name, is_empty = str(info.field_name), isinstance(value, list) and not value
        if name == "tools":
            value = to_wire_tools(value)
        is_checked = info.data.get("check_requests", True) and not is_empty
        return check_parameter(name, value) if is_checked else to_plain_value(name, value)

    @field_validator("model")
    @classmethod
    def _check_model(cls, value: str) -> str:
        catalog.check_name(value, "model")
        return value

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, str) and value == MARK:  # of `model_dump`
            return DroppedKey("api_key")
        to_key_source(value)
        return SecretStr(value) if isinstance(value, str) else value

    @field_serializer("api_key")
    def _hide_api_key(self, value: Any) -> str | None:
        """Return a fixed mark, because LangGraph writes ``model_dump`` into checkpoints. A model made from it has no key."""
        return None if value is None else MARK

    @field_validator("cookies")
    @classmethod
    def _check_cookies(cls, value: Any, info: ValidationInfo) -> Any:
        """Wrap the cookies, so that they appear in no ``repr``."""
        return None if value is None else to_cookie_source(value, info.data.get("transport"))

    @field_validator("key_resolver")
    @classmethod
    def _check_key_resolver(cls, value: Any) -> Any:
        if value is not None:
            ChainKeyResolver([value])
        return value

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, str):
            raise TypeError(f"proxy is a {type(value).__name__}: use an address like 'http://host:port'")
        if value:
            to_proxy(value, ARGUMENT)
        return value

    @field_validator("base_url")
    @classmethod
    def _complete_base_url(cls, value: str | None) -> str:
        return to_base_url(value)  # resolved here, so that it is the same in another process

    @field_validator("on_start", "on_call")
    @classmethod
    def _check_hook(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and not callable(value):
            argument = "CallStart" if info.field_name == "on_start" else "CallRecord"
            raise TypeError(f"{info.field_name} is a {type(value).__name__}: use a callable that accepts a {argument}")
        return value

    @field_validator("aliases", "timeout", "default_headers", "rate_limit")
    @classmethod
    def _check_setting(cls, value: Any, info: ValidationInfo) -> Any:
        check: dict[str | None, Callable[[Any], Any]] = {
            "aliases": AliasTable,
            "timeout": Timeout.from_value,
            "default_headers": check_headers,
            "rate_limit": RateLimit.from_value,
        }
        checked = None if value is None else check[info.field_name](value)
        # A mapping stands for an object with these fields, as in a model that was saved.
        return checked if isinstance(value, Mapping) and isinstance(checked, Timeout | RateLimit) else value

    @model_validator(mode="after")
    def _set_cerebras_demo_version(self) -> Self:
        self._add_version("langchain-cerebras-demo", __version__)
        return self

    # -- state

    def _client(self) -> Client:
        """Return the client for the current values of the fields, which may change."""
        private: Any = (
            self.__pydantic_private__
        )  # pydantic's access to `self._client_memo` would take seven times as long as the rest
        memo: ClientMemo = private["_client_memo"]
        return memo.client(_client_settings(self.__dict__), self._make_client)

    def _make_client(self) -> Client:
        refuse_at_the_end()  # making a client imports modules
        keys = to_key_chain(
            to_base_url(self.base_url),
            key_resolver=self.key_resolver,
            api_key=self.api_key,
            cookies=self.cookies,
            transport=self.transport,
        )
        return Client(
            base_url=self.base_url,
            keys=keys,
            transport=self.transport,
            timeout=Timeout.from_value(self.timeout),
            retry=RetryPolicy(max_retries=self.max_retries),
            aliases=AliasTable(self.aliases),
            headers=self.default_headers,
            user_agent=self.user_agent,
            proxy=self.proxy,
            max_concurrency=self._shared_slots.slots(
                self.max_concurrency, self.max_queue, self.base_url, self.api_key, self.key_resolver, self.cookies
            ),
            rate_limit=RateLimit.from_value(self.rate_limit),
            max_wait=self.max_wait,
            compress=self.compress_requests,
            on_start=self.on_start,
            on_call=self.on_call,
        )

    def __getstate__(self) -> dict[Any, Any]:
        """Return the state for a pickle, without explicit keys; the copy raises an error that says so if it needs one."""
        state = super().__getstate__()
        fields = dict(state["__dict__"])
        if isinstance(fields["api_key"], str | SecretStr):
            fields["api_key"] = DroppedKey("api_key")
        if isinstance(fields["cookies"], Mapping):  # set by model_copy, which does not validate
            fields["cookies"] = DroppedKey("cookies")
        return {**state, "__dict__": fields}

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._client_memo = ClientMemo()  # noqa: SLF001 - our own class
        return copied

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields that identify the model; none of them is a secret."""
        for name in ("model", "base_url", "reasoning_effort"):
            if (value := getattr(self, name, None)) is not None:
                is_local = name == "model" and local.is_local(getattr(self, "base_url", None) or "")
                yield name, local.LOCAL_MODEL if is_local else value


def _arguments_of(cls: type[BaseChatModel]) -> str:
    """Return the ``Args`` section of a docstring for the arguments of a model."""
    described = ((name, field.description) for name, field in cls.model_fields.items())
    return "\n".join(["Args:", *(f"    {name}: {text}" for name, text in described if text)])


if not TYPE_CHECKING:
    ChatFields.__init__.__doc__ = (
        f"Create a model. Invalid arguments raise an error here.\n\n{_arguments_of(ChatFields)}"
    )


def to_wire_tools(tools: Any) -> Any:
    """Return tools in the API's form. Functions, classes and dicts in other forms are converted."""
    if not isinstance(tools, list | tuple) or all(
        isinstance(tool, Mapping) and tool.get("type") == "function" for tool in tools
    ):
        return tools
    from langchain_cerebras_demo.chat_models.tools import to_tools  # noqa: PLC0415 - imports schemas, which few calls need

    return to_tools(tools)
