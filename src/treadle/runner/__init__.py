"""Life: a pure machine for one run, the loop that performs what it asks for, and the runners around that."""
