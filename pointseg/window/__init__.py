"""The window in which one turns a room: what it shows, how it is turned, what is written in it, and Open3D's part."""
