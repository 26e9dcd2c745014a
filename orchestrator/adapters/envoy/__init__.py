"""A fleet of Envoys as one proxy of a cutover: the control plane that they ask, and what it tells them.

`fleet` and `serving` are values, `bootstrap` and `resources` make Envoy's configuration of them, `nodes` knows what
each Envoy was told and answered, `control_plane` and `health` speak to the Envoys, `proxy` is the conductor's port.
"""
