"""Plug-ins: what makes other programs find the chat model. Each loads nothing of it until the model is asked for."""
