//! Ids of resources: `/subscriptions/S/resourceGroups/G/providers/TYPE/NAME`. They compare without regard to case.

/// Id of a resource in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceId<'i> {
    /// Subscription.
    pub subscription: &'i str,
    /// Resource group.
    pub group: &'i str,
    /// Type with its namespace, such as `Microsoft.Compute/virtualMachines`.
    pub kind: String,
    /// Name of the resource, the last one where resources are nested.
    pub name: &'i str,
}

impl<'i> ResourceId<'i> {
    /// Reads an id; none if it is not that of a resource in a group.
    pub fn parse(id: &'i str) -> Option<Self> {
        let mut parts = id.strip_prefix('/')?.split('/');
        let mut after = |word: &str| parts.next().filter(|part| part.eq_ignore_ascii_case(word)).and(parts.next());
        let subscription = after("subscriptions")?;
        let group = after("resourceGroups")?;
        let mut kind = after("providers")?.to_owned();
        let mut name = None;
        while let Some(part) = parts.next() {
            kind = format!("{kind}/{part}");
            name = Some(parts.next()?);
        }
        let name = name.filter(|name| !name.is_empty())?;
        Some(Self { subscription, group, kind, name })
    }

    /// Returns true for a resource of this type.
    pub fn is_a(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_any_case() {
        let id = "/subscriptions/S-1/resourcegroups/RG/providers/microsoft.compute/virtualmachines/vm-1";
        let read = ResourceId::parse(id).unwrap();
        assert_eq!((read.subscription, read.group, read.name), ("S-1", "RG", "vm-1"));
        assert!(read.is_a("Microsoft.Compute/virtualMachines") && !read.is_a("Microsoft.Compute/disks"));
        let nested = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/n";
        let read = ResourceId::parse(nested).unwrap();
        assert_eq!((read.kind.as_str(), read.name), ("Microsoft.Network/virtualNetworks/subnets", "n"));
        for not in [
            "",
            "/",
            "/subscriptions/s",
            "/subscriptions/s/resourceGroups/g",
            "/subscriptions/s/resourceGroups/g/providers/N",
            "/subscriptions/s/resourceGroups/g/providers/N/t",
            "/subscriptions/s/resourceGroups/g/providers/N/t/",
            "subscriptions/s",
        ] {
            assert_eq!(ResourceId::parse(not), None, "{not}");
        }
    }
}
