"""The backprop stepper and the profile: each file reads one record of what the engine did."""
from minigrad.stepper.record import trace
