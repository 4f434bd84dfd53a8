"""What a data centre is made of, as components of Pulumi."""
