"""The methods behind ``--model``: one file each, found by ``engine.registry``."""
