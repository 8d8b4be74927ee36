"""Access: who asks, what a role may do, how much, and from which pages."""
