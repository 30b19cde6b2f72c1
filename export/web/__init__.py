"""The exported model in a browser: a static folder, and a small server for it."""
