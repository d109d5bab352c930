"""The one engine under all device work. Rollouts, rounds and updates only use it."""
