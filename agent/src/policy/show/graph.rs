//! Who reaches whom, as a graph: roles and groups are nodes, flows between two of them are one
//! edge with all their ports. Flows that hang on a condition or a version are dashed; flows that never leave
//! a host are not drawn.

use std::fmt::Write as _;

use super::Filter;
use crate::policy::schema::{Flow, Policy, Row, Scope};
use crate::policy::values::Transport;

/// The graph in Graphviz's language.
#[must_use]
pub fn dot(policy: &Policy, filter: &Filter) -> String {
    let graph = Graph::of(policy, filter);
    let mut out = format!(
        "digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box];\n",
        policy.id()
    );
    for node in &graph.nodes {
        let shape = if node.group { " [shape=ellipse]" } else { "" };
        // Writing to a string can't fail.
        let _ = writeln!(out, "  \"{}\"{shape};", node.name);
    }
    for edge in &graph.edges {
        let style = if edge.conditional {
            ", style=dashed"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "  \"{}\" -> \"{}\" [label=\"{}\"{style}];",
            graph.nodes[edge.from].name,
            graph.nodes[edge.to].name,
            edge.label("\\n", "<")
        );
    }
    out + "}\n"
}

/// The graph in Mermaid's language.
#[must_use]
pub fn mermaid(policy: &Policy, filter: &Filter) -> String {
    let graph = Graph::of(policy, filter);
    let mut out = "flowchart LR\n".to_owned();
    for (index, node) in graph.nodes.iter().enumerate() {
        let (open, close) = if node.group { ("([", "])") } else { ("[", "]") };
        let _ = writeln!(out, "  n{index}{open}\"{}\"{close}", node.name);
    }
    for edge in &graph.edges {
        let arrow = if edge.conditional { "-.->" } else { "-->" };
        let _ = writeln!(
            out,
            "  n{} {arrow}|\"{}\"| n{}",
            edge.from,
            edge.label("<br>", "#lt;"),
            edge.to
        );
    }
    out
}

struct Node {
    name: String,
    group: bool,
}

/// A transport, and the group that it is sent to.
type Carrier = (Transport, Option<String>);

struct Edge {
    from: usize,
    to: usize,
    conditional: bool,
    /// Ports as documented, by transport and the multicast or broadcast group that it is sent to;
    /// all in the order of the rows.
    ports: Vec<(Carrier, Vec<String>)>,
}

impl Edge {
    /// One line per transport and group. A port without a default is `<name>`, which Mermaid would read as
    /// a tag; there it is escaped.
    fn label(&self, newline: &str, less: &str) -> String {
        let lines: Vec<String> = self
            .ports
            .iter()
            .map(|((transport, via), ports)| {
                let mut line = transport.to_string();
                if !ports.is_empty() {
                    line += &format!(" {}", ports.join(", ").replace('<', less));
                }
                if let Some(via) = via {
                    line += &format!(" via {via}");
                }
                line
            })
            .collect();
        lines.join(newline)
    }

    fn add(&mut self, carrier: Carrier, ports: impl Iterator<Item = String>) {
        let index = match self.ports.iter().position(|(own, _)| *own == carrier) {
            Some(index) => index,
            None => {
                self.ports.push((carrier, Vec::new()));
                self.ports.len() - 1
            }
        };
        let own = &mut self.ports[index].1;
        for port in ports {
            if !own.contains(&port) {
                own.push(port);
            }
        }
    }
}

#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

impl Graph {
    fn of(policy: &Policy, filter: &Filter) -> Self {
        let mut graph = Self::default();
        for row in filter.rows(policy) {
            if policy.scope_of(row) == Some(Scope::Host) {
                continue;
            }
            for flow in &row.flows {
                graph.add(policy, row, flow);
            }
        }
        graph
    }

    fn add(&mut self, policy: &Policy, row: &Row, flow: &Flow) {
        let conditional =
            policy.flow_conditions(row, flow).next().is_some() || !row.since.is_empty();
        let via = flow.via.as_ref().map(|via| via.get_ref().clone());
        let group = flow.to_group.as_ref();
        for from in &flow.from {
            for to in flow.to.iter().chain(group) {
                let from = self.node(from.get_ref(), false);
                let to = self.node(to.get_ref(), group.is_some());
                for transport in flow.transports() {
                    let ports = flow
                        .ports(transport)
                        .iter()
                        .map(|port| policy.documented_port(port.get_ref()));
                    self.edge(from, to, conditional)
                        .add((transport, via.clone()), ports);
                }
            }
        }
    }

    fn node(&mut self, name: &str, group: bool) -> usize {
        let known = self
            .nodes
            .iter()
            .position(|node| node.name == name && node.group == group);
        known.unwrap_or_else(|| {
            self.nodes.push(Node {
                name: name.to_owned(),
                group,
            });
            self.nodes.len() - 1
        })
    }

    fn edge(&mut self, from: usize, to: usize, conditional: bool) -> &mut Edge {
        let known = self
            .edges
            .iter()
            .position(|edge| (edge.from, edge.to, edge.conditional) == (from, to, conditional));
        let index = known.unwrap_or_else(|| {
            self.edges.push(Edge {
                from,
                to,
                conditional,
                ports: Vec::new(),
            });
            self.edges.len() - 1
        });
        &mut self.edges[index]
    }
}
