//! geto-testkit
