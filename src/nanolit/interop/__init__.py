"""The way in and out: other people's models, files and hubs. Only here are their packages imported."""
