"""The exported model: its folder, its file and what that says of itself."""
