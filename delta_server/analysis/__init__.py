"""What a run did: reading its outputs, statistics, pictures."""
