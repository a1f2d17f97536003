"""What stays of every half solved anew, front to back."""
