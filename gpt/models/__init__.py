"""The nets, their parts and how they write; they know neither text nor training."""
