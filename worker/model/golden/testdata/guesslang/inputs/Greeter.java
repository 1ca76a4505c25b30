package org.example;

import java.util.List;

public class Greeter {
    private final List<String> names;

    public Greeter(List<String> names) {
        this.names = names;
    }

    public void greet() {
        for (String name : names) {
            System.out.println("Grüß dich, " + name + "!");
        }
    }
}
