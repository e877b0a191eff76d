"""Plug-ins through which other programs find the chat model. They load it only when it is requested."""
