"""Videos as frames with their true times: a file, pictures, a camera."""
