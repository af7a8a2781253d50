"""From config files and words of the command line to checked settings. Every default is defined in one place."""
