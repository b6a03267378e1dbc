"""What is looked at in a browser: the report of a run, and the viewer of a scene. Neither needs a network."""
