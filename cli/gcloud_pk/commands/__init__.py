"""Click commands, one module for each noun: parse, call, show."""
