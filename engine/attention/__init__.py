"""Where the encoder looks for a class."""
