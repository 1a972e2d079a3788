"""Values: what passes between the rooms of the house. No I/O, no clock, no behaviour of its own."""
