"""What stacks declare: one module for each."""
