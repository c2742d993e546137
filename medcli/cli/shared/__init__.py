"""What the command files share: option types, words for several values, output, and streams that hide credentials."""
