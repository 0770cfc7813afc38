"""One file per command. The only room that knows Hydra; everything below it takes plain values and dataclasses."""
