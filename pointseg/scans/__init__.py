"""One scene: its arrays, its frame, what it lacks, and the prepared tree that holds many."""
