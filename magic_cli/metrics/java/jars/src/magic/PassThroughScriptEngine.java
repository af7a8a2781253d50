// SPDX-License-Identifier: MIT
package magic;

import java.io.IOException;
import java.io.Reader;
import java.io.StringWriter;
import javax.script.AbstractScriptEngine;
import javax.script.Bindings;
import javax.script.ScriptContext;
import javax.script.ScriptEngineFactory;
import javax.script.ScriptException;
import javax.script.SimpleBindings;

/**
 * Stands in for JavaScript where SPICE indents its JSON, the one script that it runs.
 *
 * <p>JSON.parse and JSON.stringify change nothing but white space, so the text is handed through. Anything else is
 * refused: this is no JavaScript.
 */
final class PassThroughScriptEngine extends AbstractScriptEngine {
    private static final String SCRIPT = "result = JSON.stringify(JSON.parse(jsonString), null, 2)";

    private final ScriptEngineFactory factory;

    PassThroughScriptEngine(ScriptEngineFactory factory) {
        this.factory = factory;
    }

    @Override
    public Object eval(String script, ScriptContext context) throws ScriptException {
        if (!SCRIPT.equals(script)) {
            throw new ScriptException("magic's stand-in for JavaScript runs only `" + SCRIPT + "`, got: " + script);
        }
        Object json = context.getAttribute("jsonString");
        if (!(json instanceof String)) {
            throw new ScriptException("jsonString must be a string, got: " + json);
        }
        context.setAttribute("result", json, ScriptContext.ENGINE_SCOPE);
        return json;
    }

    @Override
    public Object eval(Reader reader, ScriptContext context) throws ScriptException {
        StringWriter script = new StringWriter();
        try {
            reader.transferTo(script);
        } catch (IOException error) {
            throw new ScriptException(error);
        }
        return eval(script.toString(), context);
    }

    @Override
    public Bindings createBindings() {
        return new SimpleBindings();
    }

    @Override
    public ScriptEngineFactory getFactory() {
        return factory;
    }
}
