"""The model: one decoder-only transformer, its cache, its accounts and its directory."""
