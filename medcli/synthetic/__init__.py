"""Small, realistic data in the layouts of both datasets, for the demo and the tests."""
