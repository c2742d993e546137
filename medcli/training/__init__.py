"""What every train command shares: settings, devices, random streams, the run's folder, callbacks, the fit."""
