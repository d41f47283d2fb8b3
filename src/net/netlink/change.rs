//! The messages that change what is there: for a container that runs already.

use ipnet::IpNet;

use super::make::route_message;
use super::{Refused, Wires};
use crate::net::link::NewRoute;

impl Wires {
    /// Adds a route in place of one to the same destination.
    pub fn replace_route(&mut self, route: &NewRoute) -> Result<(), Refused> {
        let message = route_message(route, self.index(&route.dev)?);
        let request = self.inside.route().add(message).replace().execute();
        self.wait(
            &format!("put the route to {} through {}", route.dst, route.dev),
            request,
        )
    }

    /// Deletes a route; ESRCH where there is none.
    pub fn delete_route(&mut self, route: &NewRoute) -> Result<(), Refused> {
        let message = route_message(route, self.index(&route.dev)?);
        let request = self.inside.route().del(message).execute();
        self.wait(
            &format!("delete the route to {} through {}", route.dst, route.dev),
            request,
        )
    }

    /// Takes an address, and the routes that start from it, off the link `name`.
    pub fn delete_address(&mut self, name: &str, address: IpNet) -> Result<(), Refused> {
        let what = format!("take {address} off {name}");
        let index = self.index(name)?;
        let wanted = self
            .inside
            .address()
            .get()
            .set_link_index_filter(index)
            .set_address_filter(address.addr())
            .execute();
        let message = self.first(&what, wanted)?;
        self.wait(&what, self.inside.address().del(message).execute())
    }
}
