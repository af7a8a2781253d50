"""The command line: Hydra's application, arguments, help, exit statuses, the table of commands."""
