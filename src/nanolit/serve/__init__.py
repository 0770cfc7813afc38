"""Talking to a model: in the terminal and over HTTP. Models are opened elsewhere (cli/) and answer through a worker."""
