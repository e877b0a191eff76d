"""Sources of API keys, how a key is kept and hidden, and the hosts that it may be sent to."""

from langchain_cerebras_demo.keys.browser_session import (
    BROWSER_VARIABLE,
    BrowserSessionKey,
    refuse_automatic,
    refuse_unasked,
)
from langchain_cerebras_demo.keys.chain import (
    HOW_TO_GET_A_KEY,
    ChainKeyResolver,
    KeyResolver,
    SourceReport,
    peek_secret,
    refresh_secret,
    resolve_secret,
)
from langchain_cerebras_demo.keys.secret import MARK, DemoKey, Secret
from langchain_cerebras_demo.keys.session import SESSION_URL, SessionCookieKey
from langchain_cerebras_demo.keys.sources import API_KEY_VARIABLE, AbsentKey, CallableKey, DroppedKey, EnvKey, StaticKey

__all__ = [
    "API_KEY_VARIABLE",
    "BROWSER_VARIABLE",
    "HOW_TO_GET_A_KEY",
    "MARK",
    "SESSION_URL",
    "AbsentKey",
    "BrowserSessionKey",
    "CallableKey",
    "ChainKeyResolver",
    "DemoKey",
    "DroppedKey",
    "EnvKey",
    "KeyResolver",
    "Secret",
    "SessionCookieKey",
    "SourceReport",
    "StaticKey",
    "peek_secret",
    "refresh_secret",
    "refuse_automatic",
    "refuse_unasked",
    "resolve_secret",
]
