"""The commands, by what they are about; each module makes its own known."""
