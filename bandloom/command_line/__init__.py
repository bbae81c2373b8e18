"""The command line: options made from records, configs, examples for help texts, and the console."""
