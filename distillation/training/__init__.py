"""How a student learns: settings, losses, a teacher's distributions, and the library's Trainer."""
