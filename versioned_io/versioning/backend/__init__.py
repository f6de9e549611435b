"""The parts of an open store, and the checks that keep it sound: its address, owner and beacons."""
