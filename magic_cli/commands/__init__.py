"""The commands: one small module each, with ``run(settings) -> exit status``."""
