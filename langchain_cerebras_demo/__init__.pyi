# The one list of the public names: type checkers read it, and so does __init__.py at run time.

from langchain_cerebras_demo._version import __version__ as __version__
from langchain_cerebras_demo.bulk import (
    BulkError as BulkError,
    BulkInputError as BulkInputError,
    BulkOutputError as BulkOutputError,
    BulkStoppedError as BulkStoppedError,
    run_bulk as run_bulk,
)
from langchain_cerebras_demo.catalog import (
    AliasTable as AliasTable,
    ModelSpec as ModelSpec,
    RetiredModelWarning as RetiredModelWarning,
)
from langchain_cerebras_demo.chat_models import (
    ChatCerebrasDemo as ChatCerebrasDemo,
    TruncatedAnswerWarning as TruncatedAnswerWarning,
)
from langchain_cerebras_demo.client.observers import (
    CallStart as CallStart,
    Observer as Observer,
    add_observer as add_observer,
    remove_observer as remove_observer,
)
from langchain_cerebras_demo.errors import (
    APIConnectionError as APIConnectionError,
    APIError as APIError,
    APIResponseValidationError as APIResponseValidationError,
    APIStatusError as APIStatusError,
    APITimeoutError as APITimeoutError,
    AuthenticationError as AuthenticationError,
    BadRequestError as BadRequestError,
    CerebrasError as CerebrasError,
    ContextOverflowError as ContextOverflowError,
    InternalServerError as InternalServerError,
    InvalidRequestError as InvalidRequestError,
    InvalidRequestTypeError as InvalidRequestTypeError,
    KeyFormatError as KeyFormatError,
    KeyHostError as KeyHostError,
    LocalServerError as LocalServerError,
    MissingKeyError as MissingKeyError,
    ModelRefusalError as ModelRefusalError,
    NotFoundError as NotFoundError,
    PaymentRequiredError as PaymentRequiredError,
    PermissionDeniedError as PermissionDeniedError,
    QueueFullError as QueueFullError,
    RateLimitError as RateLimitError,
    StreamInterruptedError as StreamInterruptedError,
    UnprocessableEntityError as UnprocessableEntityError,
    is_retryable as is_retryable,
)
from langchain_cerebras_demo.keys import (
    BrowserSessionKey as BrowserSessionKey,
    CallableKey as CallableKey,
    ChainKeyResolver as ChainKeyResolver,
    EnvKey as EnvKey,
    KeyResolver as KeyResolver,
    SessionCookieKey as SessionCookieKey,
    SourceReport as SourceReport,
    StaticKey as StaticKey,
)
from langchain_cerebras_demo.keys.hosts import PlainHttpWarning as PlainHttpWarning
from langchain_cerebras_demo.local import LocalServer as LocalServer
from langchain_cerebras_demo.net.aiohttp_transport import AiohttpTransport as AiohttpTransport
from langchain_cerebras_demo.net.transport import (
    HttpRequest as HttpRequest,
    HttpResponse as HttpResponse,
    Transport as Transport,
)
from langchain_cerebras_demo.plugins.langchain import register_with_init_chat_model as register_with_init_chat_model
from langchain_cerebras_demo.policy import RateLimit as RateLimit, Timeout as Timeout
from langchain_cerebras_demo.provider import Cerebras as Cerebras
from langchain_cerebras_demo.records import (
    CallRecord as CallRecord,
    RateLimitSnapshot as RateLimitSnapshot,
)
